"""A tree of small files as a large source repository has them, the same for the same seed.

Sizes follow a log-normal law (median about 3 KiB, mean about 8 KiB, largest 256 KiB), names and folders are nested as
people nest them, contents are lines of words, which compress about as well as code does.
"""

import random
from pathlib import Path

WORDS = 4000
POOL_BYTES = 4 * 1024 * 1024
SIZE_MAX = 256 * 1024
FOLDER_SHARE = 0.06
ENDINGS = [".c", ".h", ".rs", ".py", ".md", ".txt", ".json", ".go", ".html", ".toml"]


def vocabulary(generator):
    syllables = ["ar", "be", "con", "da", "el", "fi", "ga", "ho", "in", "ka", "lo", "me", "no", "or", "pre", "qu", "re", "st", "tra", "un"]
    return ["".join(generator.choices(syllables, k=generator.randint(1, 4))) for _ in range(WORDS)]


def text_pool(generator):
    """Text to cut files from. Words follow their rank, so that it compresses like text and not like noise."""
    words = vocabulary(generator)
    weights = [1 / (rank + 2) for rank in range(len(words))]
    lines = []
    size = 0
    while size < POOL_BYTES:
        chosen = generator.choices(words, weights, k=generator.randint(2, 14))
        line = " " * generator.choice([0, 0, 4, 4, 8, 12]) + " ".join(chosen) + generator.choice([";", "", " {", ",", "."])
        lines.append(line)
        size += len(line) + 1
    return "\n".join(lines).encode()


def make(root, files, seed):
    """Makes the tree; answers how many bytes it holds."""
    generator = random.Random(seed)
    pool = text_pool(generator)
    words = vocabulary(generator)
    folders = [Path(root)]
    folders[0].mkdir(parents=True)
    for number in range(max(1, int(files * FOLDER_SHARE))):
        # Younger folders more often, so that the tree grows deep as well as wide.
        parent = folders[int(len(folders) * generator.random() ** 0.7)]
        if len(parent.parts) - len(folders[0].parts) >= 9:
            parent = folders[0]
        folder = parent / f"{generator.choice(words)}{number}"
        folder.mkdir()
        folders.append(folder)
    total = 0
    for number in range(files):
        size = min(SIZE_MAX, int(generator.lognormvariate(8.0, 1.4)))
        start = generator.randrange(len(pool) - size)
        name = f"{generator.choice(words)}_{number}{generator.choice(ENDINGS)}"
        head = f"// file {number} of {files}, seed {seed}\n".encode()
        content = (head + pool[start : start + size])[: max(size, 1)]
        with open(generator.choice(folders) / name, "wb") as file:
            file.write(content)
        total += len(content)
    return total
