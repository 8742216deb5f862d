"""Folders of recordings as tables, resumable recording by recording."""
