"""The recipe tab."""
