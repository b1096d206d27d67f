"""Tools of MCP servers, as tools of ours. Needs the extra ``mcp``."""
