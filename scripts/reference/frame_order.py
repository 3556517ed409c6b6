"""The order in which mariana_dnn takes frames (common/data/frame_stream.h), in numpy: a pure
function of (seed, epoch) and the utterances' lengths, by Philox4x32-10 (common/base/random.h)."""
import numpy as np

SHUFFLE_STREAM = 3 << 32
BLOCK_FRAMES = 1 << 18
MASK = np.uint64(0xFFFFFFFF)


def philox(seed, stream, index):
    """[len(index), 4] words of 32 bits, as uint64."""
    index = np.asarray(index, np.uint64)
    shift = np.uint64(32)
    key = [np.uint64(seed & 0xFFFFFFFF), np.uint64(seed >> 32)]
    c = [index & MASK, index >> shift, np.full_like(index, stream & 0xFFFFFFFF),
         np.full_like(index, stream >> 32)]
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [(p1 >> shift) ^ c[1] ^ key[0], p1 & MASK, (p0 >> shift) ^ c[3] ^ key[1], p0 & MASK]
        key = [(key[0] + np.uint64(0x9E3779B9)) & MASK, (key[1] + np.uint64(0xBB67AE85)) & MASK]
    return np.stack(c, axis=1)


def permutation(seed, stream, n):
    """Fisher-Yates from the end: element i - 1 changes places with one below i, i = n .. 2. Each
    draw is 64 bits, the high word first."""
    order = list(range(n))
    if n < 2:
        return order
    words = philox(seed, stream, np.arange((n + 1) // 2)).reshape(-1, 2)[:n - 1]
    bits = words[:, 0] << np.uint64(32) | words[:, 1]
    below = np.arange(n, 1, -1, dtype=np.uint64)
    top = np.uint64(2**64 - 1)
    # The program draws again there; one time in 10^12 at these sizes.
    assert (bits < top - top % below).all(), "a draw in the last, uneven part of the range"
    for i, j in zip(range(n - 1, 0, -1), (bits % below).tolist()):
        order[i], order[j] = order[j], order[i]
    return order


def epoch_order(lengths, seed, epoch, block_frames=BLOCK_FRAMES):
    """Frames of one epoch, as rows of the utterances' concatenation in file order."""
    starts = np.concatenate([[0], np.cumsum(lengths)])
    blocks, filled = [[]], 0
    for u in permutation(seed, SHUFFLE_STREAM + epoch, len(lengths)):
        if filled and filled + lengths[u] > block_frames:
            blocks.append([])
            filled = 0
        blocks[-1].append(u)
        filled += lengths[u]
    out = []
    for b, utterances in enumerate(blocks):
        rows = np.concatenate([np.arange(starts[u], starts[u + 1]) for u in utterances])
        own = philox(seed, SHUFFLE_STREAM + epoch, [(1 << 62) + b])[0]
        out.append(rows[permutation(int(own[0]) << 32 | int(own[1]), SHUFFLE_STREAM, len(rows))])
    return np.concatenate(out)
