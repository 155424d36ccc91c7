"""What a node forwards beside sessions: ports, sockets, X11 and the key agent."""
