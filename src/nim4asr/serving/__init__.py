"""The network's face: OpenAI's REST and Realtime protocols, others' WebSockets, a page for the browser."""
