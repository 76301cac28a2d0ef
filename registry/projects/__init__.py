"""What a project asks for and what it has: `modpm.toml`, `modpm.lock`, and edits of them."""
