"""The calls of the API, a file for each family of addresses. A call reads the request, does it, and answers."""
