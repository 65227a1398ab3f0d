"""The routes of `/v1`: each one is a call of the library, asked and answered over HTTP."""
