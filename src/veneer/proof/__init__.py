"""The measured answer: prompts, measures, verdict, charts and pages."""
