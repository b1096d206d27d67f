"""ToolServers: tools that run in a process of their own, behind HTTP, in the ancestor's wire shapes."""
