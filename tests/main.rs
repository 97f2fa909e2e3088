//! System tests: real relays, real agents, real sockets on port 0, one module per promise.
