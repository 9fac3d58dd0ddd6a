"""What agents are told beside their NodeCaches: sources, credentials, and who shares a pull with them."""
