"""Jobs from a request to a finished video: what is queued, with which values, watched until it has ended."""
