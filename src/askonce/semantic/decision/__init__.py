"""Whether a question is answered with the answer to another one: features, model, and the rule with its bound."""
