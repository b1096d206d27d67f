"""The operations of the API, by subject; each module gives a table of endpoints."""
