"""Model routing in LangChain."""
