"""What users did, one row an action: tables of them on disk, and what can be asked of them."""
