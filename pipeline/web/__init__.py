"""HTTP. Read `connection` (requests, retries), `urls` (checks, secrets). Imports `progress`."""
