"""Pretrained models: bases and their parts, embedders, and pictures drawn with a base."""
