"""Adapters: attached, read and written in every layout, checked, merged, resized, converted."""
