"""The inputs: made from a seed, tens of megabytes a second, once, and kept in the work folder.

Text is like English in what counts here: how often words come (Zipf-Mandelbrot), how long they are, how many are
different. In all inputs words are separated by single spaces, and there are no quotes, backslashes or tabs in them: so
what every program calls a word, and how it writes it, is the same.
"""

import json
import shutil

import numpy as np
import polars as pl

VERSION = 5  # of the makers below: what another version has made is made again
MB = 1 << 20
WORD_BYTES = 7  # more than a word has on average: what is missing is drawn in smaller and smaller chunks
CHUNK = 2_000_000  # words or rows at a time: some 100 MB of arrays
RECORDS_CHUNK = 200_000  # a record has 32 digits, each a number for a while
LETTERS = np.frombuffer(b"etaoinshrdlucmfwypgbvkxjqz", dtype=np.uint8)
LETTER_SHARES = 1 / (np.arange(len(LETTERS)) + 3.0)

WORDS = 500_000
ZIPF_SHIFT, ZIPF_POWER = 10, 1.45  # of 56 million words some 340,000 are different, as in English novels
LINE_WORDS = (6, 14)
RECORD_BYTES = 100
KEY_BYTES = 10
FILLER = b"  " + b"".join(4 * bytes([65 + n]) for n in range(13)) + b"="  # up to the newline, as gensort lays it out
STATIONS = 413
SYLLABLES = [
    "ka",
    "so",
    "ri",
    "vo",
    "né",
    "tü",
    "la",
    "mo",
    "Sé",
    "den",
    "bur",
    "gra",
    "o",
    "shi",
    "wan",
    "ål",
    "ta",
    "zu",
]
USERS = 100_000
UNKNOWN_SHARE = 0.1  # of the orders: of users that are not in the list
COUNTRIES = ["AT", "BR", "CL", "DE", "ES", "FR", "GB", "IN", "JP", "KE", "MX", "NZ", "PL", "SE", "TR", "US", "VN", "ZA"]
DIMENSIONS = 8
CLUSTERS = 10
ROUNDS = 20


def make(work, name, maker, **size):
    """The folder of an input, made if it is not there or was made by another version, with other sizes or not whole."""
    folder = work / "inputs" / name
    marker = folder / "_made.json"
    wanted = {"version": VERSION, "maker": maker.__name__, **{key: str(value) for key, value in size.items()}}
    if not (marker.exists() and json.loads(marker.read_text()) == wanted):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        maker(folder, np.random.default_rng(20), **size)
        marker.write_text(json.dumps(wanted))
    return folder


def draw_words(rng, number, mean_length):
    """So many different words, the first ones shorter."""
    words = {}
    ranks = np.arange(number)
    while len(words) < number:
        means = mean_length(ranks[len(words) :])
        lengths = np.clip(np.rint(rng.normal(means, 1.4)), 1, 18).astype(int)
        letters = rng.choice(LETTERS, lengths.sum(), p=LETTER_SHARES / LETTER_SHARES.sum()).tobytes().decode()
        ends = np.cumsum(lengths)
        words.update(dict.fromkeys(letters[end - length : end] for end, length in zip(ends, lengths, strict=True)))
    return list(words)[:number]


def alias_table(weights):
    """Walker's alias method: what is drawn by a uniform place and a uniform number, whatever the weights."""
    share = weights / weights.sum() * len(weights)
    other = np.arange(len(weights))
    small, large = list(np.flatnonzero(share < 1)), list(np.flatnonzero(share >= 1))
    rest = share.copy()
    while small and large:
        little, much = small.pop(), large[-1]
        share[little], other[little] = rest[little], much
        rest[much] -= 1 - rest[little]
        if rest[much] < 1:
            small.append(large.pop())
    share[[*small, *large]] = 1
    return share, other


def write_words(folder, rng, words, draw, *, size, files):
    """Write files of lines of words, `size` bytes together."""
    ends = pl.Series([f"{word} " for word in words] + [f"{word}\n" for word in words])
    for number in range(files):
        left = size // files
        with open(folder / f"{number:03}.txt", "wb") as file:
            while left > 0:
                drawn = draw(min(CHUNK, left // WORD_BYTES + LINE_WORDS[1]))
                breaks = np.cumsum(rng.integers(*LINE_WORDS, len(drawn) // LINE_WORDS[0] + 1, endpoint=True)) - 1
                drawn[breaks[breaks < len(drawn)]] += len(words)
                drawn[-1] = drawn[-1] % len(words) + len(words)
                text = ends.gather(drawn).str.join("")[0].encode()
                if len(text) > left:
                    text = text[: text.rfind(b"\n", 0, left) + 1]
                file.write(text)
                left -= len(text) or left


def texts(folder, rng, *, size, files):
    """English-like text."""
    words = draw_words(rng, WORDS, lambda ranks: 2.5 + 0.54 * np.log(ranks + 1))
    share, other = alias_table((np.arange(WORDS) + ZIPF_SHIFT) ** -ZIPF_POWER)

    def draw(number):
        places = rng.integers(0, WORDS, number)
        return np.where(rng.random(number) < share[places], places, other[places])

    write_words(folder, rng, words, draw, size=size, files=files)


def many_keys(folder, rng, *, size, files, keys):
    """Words of which so many are different, each about as often."""
    words = draw_words(rng, keys, lambda ranks: np.full(len(ranks), 7.5))
    write_words(folder, rng, words, lambda number: rng.integers(0, keys, number), size=size, files=files)


def own_texts(folder, _rng, *, size, files, sources):
    """The user's own text, repeated up to the size; white space made single spaces, quotes and backslashes left out."""
    gone = str.maketrans("", "", '"\\')
    read = (line for path in sources for line in path.read_text("utf-8", "ignore").splitlines())
    lines = [" ".join(words) + "\n" for line in read if (words := line.translate(gone).split())]
    if not lines:
        raise SystemExit("benchmarks: --texts: no words in these files")
    text = "".join(lines).encode()
    start = 0
    for number in range(files):
        left = size // files
        with open(folder / f"{number:03}.txt", "wb") as file:
            while left > 0:
                stop = len(text) if len(text) - start <= left else text.rfind(b"\n", start, start + left) + 1
                file.write(text[start:stop])
                left -= stop - start if stop == len(text) else left
                start = stop % len(text) if stop > start else 0


def sort_records(folder, rng, *, records):
    """The sort benchmark's records in ASCII: a random key of 10 bytes, a number, a filler; 100 bytes in all."""
    with open(folder / "records.txt", "wb") as file:
        for start in range(0, records, RECORDS_CHUNK):
            rows = np.empty((min(RECORDS_CHUNK, records - start), RECORD_BYTES), dtype=np.uint8)
            rows[:, :KEY_BYTES] = rng.integers(33, 127, (len(rows), KEY_BYTES), dtype=np.uint8)
            rows[:, KEY_BYTES : KEY_BYTES + 2] = ord(" ")
            numbers = np.arange(start, start + len(rows))[:, None] >> np.arange(124, -4, -4).clip(0, 60)
            rows[:, 12:44] = np.frombuffer(b"0123456789ABCDEF", dtype=np.uint8)[numbers & 15]
            rows[:, 12:28] = ord("0")
            rows[:, 44:99] = np.frombuffer(FILLER, dtype=np.uint8)
            rows[:, 99] = ord("\n")
            file.write(rows)


def measurements(folder, rng, *, rows):
    """The One Billion Row Challenge: `station;temperature`, one decimal, 413 stations."""
    names = {}
    while len(names) < STATIONS:
        parts = rng.choice(SYLLABLES, rng.integers(2, 7))
        name = "".join(parts).title()
        names[name if len(parts) < 5 else f"{name[:5]} {name[5:].title()}"] = None
    stations = pl.Series([f"{name};" for name in names])
    degrees = pl.Series([f"{tenths / 10:.1f}\n" for tenths in range(-999, 1000)])
    means = rng.uniform(-10, 32, STATIONS)
    with open(folder / "measurements.txt", "wb") as file:
        for start in range(0, rows, CHUNK):
            number = min(CHUNK, rows - start)
            drawn = rng.integers(0, STATIONS, number)
            tenths = np.clip(np.rint(rng.normal(means[drawn], 10) * 10), -999, 999).astype(int)
            both = pl.DataFrame([stations.gather(drawn).alias("a"), degrees.gather(tenths + 999).alias("b")])
            file.write(both.select(pl.concat_str("a", "b").str.join("")).item().encode())


def orders(folder, rng, *, rows):
    """A table of orders (user, amount) and one of users (user, country), tabs between, without headers."""
    (folder / "orders").mkdir()
    (folder / "users").mkdir()
    countries = pl.Series(COUNTRIES).gather(rng.integers(0, len(COUNTRIES), USERS))
    users = pl.DataFrame({"user": rng.permutation(USERS), "country": countries})
    users = users.select(pl.format("u{}", "user"), "country")
    users.write_csv(folder / "users" / "users.tsv", separator="\t", include_header=False)
    with open(folder / "orders" / "orders.tsv", "wb") as file:
        for start in range(0, rows, CHUNK):
            number = min(CHUNK, rows - start)
            drawn = rng.integers(0, round(USERS / (1 - UNKNOWN_SHARE)), number)
            table = pl.DataFrame({"user": drawn, "amount": rng.integers(1, 100_000, number)})
            table.select(pl.format("u{}", "user"), "amount").write_csv(file, separator="\t", include_header=False)


def points(folder, rng, *, rows, files):
    """Points around some centres, as Parquet: a column of floats for each of 8 dimensions."""
    centres = rng.uniform(0, 10, (CLUSTERS, DIMENSIONS))
    for number in range(files):
        found = centres[rng.integers(0, CLUSTERS, rows // files)] + rng.normal(0, 2, (rows // files, DIMENSIONS))
        frame = pl.DataFrame(found, schema=[f"x{axis}" for axis in range(DIMENSIONS)])
        frame.write_parquet(folder / f"{number:03}.parquet")
