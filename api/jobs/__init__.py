"""Jobs, from a request to a finished video: choose the graph and its values, queue it, watch it until it ends."""
