"""What texts say beyond their embeddings, in twelve languages: quantities, negations, opposites, roles, claims."""
