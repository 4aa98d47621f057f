"""The studio as a server: Gradio, addresses, who may ask."""
