"""Render pages of HTML that need no scripts, files or network: one look, one way to escape."""
