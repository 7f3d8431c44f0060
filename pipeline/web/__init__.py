"""HTTP: connections, retries, and URLs without secrets. Imports `files`, `progress` and `errors`."""
