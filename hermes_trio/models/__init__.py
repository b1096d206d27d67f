"""Model servers: the chat client, what a completion is made of, and parsers of tool calls in raw text."""
