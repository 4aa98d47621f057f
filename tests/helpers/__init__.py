"""What several tests share: tiny models, runs laid down by files, servers, terminals, studios, recordings."""
