"""Texts and images to vectors: what the jobs give is what their definitions say, and models learn from it."""

import ast
import itertools
import math
import sys
import sysconfig
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import xxhash
from mapreduce.demos.features import images, text
from pages import demo_of_readme, run_blocks
from PIL import Image
from scipy.sparse import csr_matrix
from sklearn.model_selection import GroupShuffleSplit, train_test_split
from sklearn.svm import LinearSVC

import mapreduce

PLACES = 1 << 18
PACKAGES = ("asyncio", "email", "http", "logging", "multiprocessing", "unittest", "xml")
SHORTEST = 200  # characters of a function that says where it is from


@pytest.fixture(scope="module")
def functions(tmp_path_factory):
    """The functions of some packages of the standard library, a file each: PACKAGE/MODULE-NUMBER.txt."""
    folder = tmp_path_factory.mktemp("functions")
    library = Path(sysconfig.get_path("stdlib"))
    for package in PACKAGES:
        (folder / package).mkdir()
        for path in sorted((library / package).glob("*.py")):
            source = path.read_text(encoding="utf-8")
            lines = source.split("\n")
            nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
            for number, node in enumerate(nodes):
                found = "\n".join(lines[node.lineno - 1 : node.end_lineno])
                if len(found) >= SHORTEST:
                    name = f"{path.stem.strip('_')}-{number}.txt"
                    (folder / package / name).write_text(found, encoding="utf-8")
    return folder


def read_vectors(output):
    """Path -> {place: weight}, as Parquet has them."""
    frame = pl.concat([pl.read_parquet(part) for part in sorted(output.glob("part-*.parquet"))])
    assert frame.schema["value"] == pl.Struct({"indices": pl.List(pl.Int64), "values": pl.List(pl.Float64)})
    vectors = {}
    for path, vector in frame.iter_rows():
        assert vector["indices"] == sorted(set(vector["indices"]))
        vectors[path] = dict(zip(vector["indices"], vector["values"], strict=True))
    assert len(vectors) == frame.height
    return vectors


def reference(paths):
    """Path -> {place: signed count} of words and pairs of words, worked out the slow way."""
    counts = {}
    for path in paths:
        words = text.tokens(path.read_text(encoding="utf-8"))
        pairs = [f"{a} {b}" for a, b in itertools.pairwise(words)]
        places = Counter()
        for feature in words + pairs:
            number = xxhash.xxh3_64_intdigest(feature.encode())
            places[number % PLACES] += 1 if number < 2**63 else -1
        counts[str(path)] = {place: n for place, n in places.items() if n}
    return counts


def scaled(vector):
    norm = math.sqrt(math.fsum(x * x for x in vector.values()))
    return {place: x / norm for place, x in vector.items()}


def accuracies(vectors):
    """How often a linear model, and the guess of the largest class, are right: (functions held back, modules)."""
    paths = [Path(path) for path in vectors]
    labels = np.array([path.parent.name for path in paths])
    modules = [f"{path.parent.name}/{path.name.partition('-')[0]}" for path in paths]
    bounds = np.cumsum([0, *(len(vector) for vector in vectors.values())])
    indices = [place for vector in vectors.values() for place in vector]
    values = [x for vector in vectors.values() for x in vector.values()]
    matrix = csr_matrix((values, indices, bounds), shape=(len(paths), PLACES))
    everything = np.arange(len(paths))
    splits = [
        train_test_split(everything, test_size=0.25, random_state=0, stratify=labels),
        next(GroupShuffleSplit(1, test_size=0.25, random_state=0).split(everything, groups=modules)),
    ]
    found = []
    for train, test in splits:
        model = LinearSVC(random_state=0).fit(matrix[train], labels[train])
        largest = Counter(labels[train]).most_common(1)[0][0]
        found.append((model.score(matrix[test], labels[test]), float(np.mean(labels[test] == largest))))
    return found


def test_a_model_learns_from_hashed_counts_where_a_function_is_from(functions, tmp_path):
    """Vectors are those of the definition; a linear model names the package of 85% of the functions held back."""
    result = mapreduce.run("@feature_extraction:hashed", functions, tmp_path / "out")
    vectors = read_vectors(tmp_path / "out")
    expected = reference(sorted(functions.glob("*/*.txt")))
    assert vectors == {path: scaled(found) for path, found in expected.items()}
    assert result.counters == {"documents": len(expected)}
    (seen, seen_largest), (strange, strange_largest) = accuracies(vectors)
    assert seen > 0.85 > 0.4 > seen_largest
    assert strange > strange_largest + 0.2


def test_tf_idf_of_hashed_counts_is_its_definition(functions, cluster, tmp_path):
    """Over tcp weights are counts times ln(D / d), scaled to length 1; a model learns from them as well."""
    result = mapreduce.run(
        "@feature_extraction:hashed_tfidf", functions, tmp_path / "out", reducers=3, coordinator=cluster.address
    )
    vectors = read_vectors(tmp_path / "out")
    counts = reference(sorted(functions.glob("*/*.txt")))
    spread = Counter(place for found in counts.values() for place in found)
    for path, found in counts.items():
        weights = {place: n * math.log(len(counts) / spread[place]) for place, n in found.items()}
        expected = scaled({place: weight for place, weight in weights.items() if weight})
        assert vectors[path] == pytest.approx(expected, rel=1e-12)
    assert result.counters["documents"] == len(counts)
    assert accuracies(vectors)[0][0] > 0.85


def test_hashing_with_signs_keeps_inner_products():
    """In expectation over vocabularies the inner product of two hashed vectors is that of their counts."""
    left, right = Counter({"a": 3, "b": 1, "c": 2}), Counter({"a": 1, "c": 2, "d": 5})
    products = []
    for seed in range(2000):
        hashed = [text.hashed([f"{seed} {word}" for word in side.elements()], bits=3) for side in (left, right)]
        products.append(sum(n * hashed[1].get(place, 0) for place, n in hashed[0].items()))
    exact = sum(n * right[word] for word, n in left.items())
    assert len(set(products)) > 5
    assert np.mean(products) == pytest.approx(exact, abs=4 * np.std(products) / math.sqrt(len(products)))


def test_a_vector_has_from_1_to_30_bits():
    """Other sizes are refused before anything is counted."""
    for bits in (0, 31):
        with pytest.raises(ValueError, match=f"bits={bits}"):
            text.hashed([], bits)


def test_digits_are_told_apart_by_their_gradients(tmp_path):
    """What the README shows runs as it stands there, and names 95% or more of the digits that it has not seen."""
    ran = run_blocks(demo_of_readme("Features"), tmp_path)
    *_, (command, printed, shown) = ran
    assert command.startswith("python")
    accuracy = float(printed.split()[0].rstrip("%")) / 100
    assert accuracy >= 0.95
    assert printed.split()[1:] == shown.split()[1:]


def slow_gradients(pixels):
    """One grey image (height x width) as images.gradients describes it, a pixel and a cell at a time."""
    height, width = pixels.shape

    def at(y, x):
        return float(pixels[min(max(y, 0), height - 1), min(max(x, 0), width - 1)])

    cells = np.zeros((height // 8, width // 8, 9))
    for y in range(height):
        for x in range(width):
            across, down = at(y, x + 1) - at(y, x - 1), at(y + 1, x) - at(y - 1, x)
            place = (math.atan2(down, across) % math.pi) / math.pi * 9 - 0.5
            low = math.floor(place)
            strength = math.hypot(across, down)
            cells[y // 8, x // 8, low % 9] += strength * (low + 1 - place)
            cells[y // 8, x // 8, (low + 1) % 9] += strength * (place - low)
    numbers = []
    for y in range(len(cells) - 1):
        for x in range(len(cells[0]) - 1):
            block = np.concatenate([cells[y, x], cells[y, x + 1], cells[y + 1, x], cells[y + 1, x + 1]])
            block = np.minimum(block / math.sqrt((block**2).sum() + 1e-6), 0.2)
            numbers += list(block / math.sqrt((block**2).sum() + 1e-6))
    return numbers


def test_images_become_the_vectors_of_the_definition(tmp_path):
    """Gradients as worked out pixel by pixel, shares of colours; files that are no image or broken are named apart."""
    folder = tmp_path / "in"
    folder.mkdir()
    noise = np.random.default_rng(7).integers(0, 256, (32, 32), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "noise.png")
    two = Image.new("RGB", (60, 30), (255, 0, 0))
    two.paste((0, 0, 255), (0, 0, 30, 30))
    two.save(folder / "two.gif")
    (folder / "text.png").write_text("no image")
    (folder / "cut.png").write_bytes((folder / "noise.png").read_bytes()[:200])
    result = mapreduce.run("@feature_extraction:images", folder, tmp_path / "out")
    frame = pl.read_parquet(sorted((tmp_path / "out").glob("part-*.parquet")))
    found = {Path(path).name: vectors for path, vectors in frame.iter_rows()}
    assert set(found) == {"noise.png", "two.gif"}
    assert found["noise.png"]["gradients"] == pytest.approx(slow_gradients(noise), abs=1e-6)
    colours = {number: share for number, share in enumerate(found["two.gif"]["colours"]) if share > 0.05}
    assert colours == pytest.approx({3 * 16: 0.5, 3: 0.5}, abs=0.05)
    assert result.counters == {"files refused": 2, "images": 2}
    refused = "".join(part.read_text() for part in sorted((tmp_path / "out" / "refused").glob("part-*")))
    assert [Path(line.split("\t")[0]).name for line in refused.splitlines()] == ["cut.png", "text.png"]
    assert "truncated" in refused
    assert "none of BMP, GIF" in refused


def test_an_image_has_the_same_vectors_in_any_batch():
    """The numbers of an image do not depend on those beside it."""
    batch = np.random.default_rng(3).integers(0, 256, (5, 32, 40, 3), dtype=np.uint8)
    for describe in (images.gradients, images.colours):
        assert (describe(batch)[2:3] == describe(batch[2:3])).all()


def test_images_without_pillow_say_what_to_install(monkeypatch):
    """The message names the extra."""
    monkeypatch.setitem(sys.modules, "PIL", None)
    images.pillow.cache_clear()
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'mapreduce-engine\[demos\]'"):
        images.square(b"", 32)
