"""Dialects of providers; registry below."""
