"""For authors of codecs and filters, and for mosnpy's own tests. `pip install mosnpy[test]` brings what it needs.

In reading order: `waiting` (conditions instead of sleeps), `resp` (exact bytes of RESP), `redis_server` (a real Redis),
`loop_thread` with `fake_upstream`, `tcp_server` and `cut_proxy` (peers that misbehave on demand), `process` and `embedded`
(mosnpy itself), `front` (the same script against a server and against the proxy before it), `checker` (every reply of a
million verified), `corpus` (command lists), `codec_contract` (what every decoder must hold).

Nothing here is imported by the proxy.
"""
