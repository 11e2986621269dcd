"""Texts and images -> vectors that a model is trained on.

    @feature_extraction                text -> TF-IDF vectors with their words, a document a file, in four steps
    @feature_extraction:hashed         documents -> signed counts of words and word pairs in 2**18 places
    @feature_extraction:hashed_tfidf   the same, weighted by how few of the documents have them
    @feature_extraction:images         image files -> histograms of gradients and colours; needs Pillow

The last three take whole files, name each by its path, and write Parquet.
"""

from mapreduce import Count, Files, Job, Step

from .features import images as of_images
from .features import text, tfidf

job = Job(
    steps=[
        Step(mapper=tfidf.words, reducer=Count()),
        Step(mapper=tfidf.by_document, reducer=tfidf.with_length),
        Step(reducer=tfidf.weights),
        Step(reducer=tfidf.vector),
    ]
)

hashed = Job(text.vectors, input=Files(text=True), output="parquet")

hashed_tfidf = Job(
    steps=[
        Step(text.counts, input=Files(text=True)),
        Step(text.by_place, reducer=text.weigh),
        Step(reducer=text.together),
    ],
    output="parquet",
)

images = Job(of_images.described, input=Files(), batch_size=64, output="parquet", outputs={"refused": "tsv"})
