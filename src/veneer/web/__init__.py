"""The studio: a page in the browser on the same functions as the command line (``veneer ui``).

The page owns no logic. Nothing is imported here, so that the command line can look at this package without
Gradio.
"""
