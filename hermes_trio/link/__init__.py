"""The only room that knows websockets: message links and the pump that drives a session over one."""
