"""A text is embedded once, in whichever batch it comes."""

from offline_langchain import MiniLMEmbeddings

from askonce.langchain import cached

embeddings = cached(MiniLMEmbeddings(), "memory://")  # any embeddings of LangChain

monday = ["How do I reset my password?", "Where is my invoice?", "I forgot my password"]
tuesday = ["Where is my invoice?", "I forgot my password", "Can I pay by card?"]
for day, texts in ("Monday", monday), ("Tuesday", tuesday):
    before = embeddings.cache.stats()
    vectors = embeddings.embed_documents(texts)
    after = embeddings.cache.stats()
    print(f"{day}: {after.misses - before.misses} of {len(texts)} texts embedded, the rest from the cache")

question = embeddings.embed_query("What if I can't remember my password?")
likeness = [sum(a * b for a, b in zip(question, vector, strict=True)) for vector in vectors]
print("Nearest to the question:", max(zip(likeness, tuesday, strict=True))[1])
