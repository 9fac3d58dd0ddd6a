"""The transfer engine: verified, resumable, parallel range reads into the store."""
