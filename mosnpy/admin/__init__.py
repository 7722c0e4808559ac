"""The admin API of the controller."""
