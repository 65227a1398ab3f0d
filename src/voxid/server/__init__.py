"""The service: HTTP, a live socket and a page over one `Recognizer` a collection. Extra `serve`, no torch."""
