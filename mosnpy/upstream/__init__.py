"""What the controller does about upstreams: active health checks."""
