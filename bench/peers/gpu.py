"""Compares engram_um's scoring on a GPU with PyTorch's, in one process, alternating, over the same device memory.

SPDX-License-Identifier: MIT OR Apache-2.0

  cmake --build build-release --target bench_scoring_peer
  python3 bench/peers/gpu.py --library build-release/libengram_um.so --kernels build-release/libbench_scoring_peer.so

"ours" is the kernels alone, "engine" the same through the library, with what it does around a launch.

Each round runs every contender once, in an order that changes; a figure is the median over the rounds, a ratio the median of the rounds' own ratios
(peer / ours: above 1, ours is faster) with a 95 % bootstrap interval. By the clock, with the wait. Norms are computed beforehand for the peers, and
left out where they multiply many queries: as if their targets had been scaled. Results are checked against float64 on a sample.
"""
import argparse
import ctypes as c
import os
import random
import sys
import time

import numpy as np
import torch

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import ours

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--library", required=True, help="libengram_um.so")
parser.add_argument("--kernels", required=True, help="libbench_scoring_peer.so")
parser.add_argument("--rows", type=int, default=1_000_000)
parser.add_argument("--rounds", type=int, default=15)
options = parser.parse_args()
DIM, K = 768, 10
generator = np.random.default_rng(7)


class OnDevice(ours.Engram):
    """The library on the GPU, over tensors' memory."""

    def __init__(self, library):
        super().__init__(library, 0, b"cuda")
        self.buffers = []

    def view(self, tensor):
        config = ours.WrapConfig()
        self.lib.eum_wrap_config_init(c.byref(config))
        config.address, config.bytes, config.memory, config.ownership = tensor.data_ptr(), tensor.nbytes, 4, 2
        buffer = c.c_void_p()
        self.check(self.lib.eum_buffer_wrap(self.context, c.byref(config), c.byref(buffer)))
        return ours.View(buffer.value, 0, tensor.nbytes)

    def scores_of(self, queries, targets, scores):
        config = ours.SimilarityConfig(c.sizeof(ours.SimilarityConfig), ours.METRICS["cosine"], 1, self.view(queries), self.view(targets),
                                       self.view(scores), len(queries), len(targets), DIM, 0, 0)
        return self.prepare(self.lib.eum_similarity, config)

    def best_of(self, queries, targets, indices, scores):
        config = ours.TopkConfig(c.sizeof(ours.TopkConfig), ours.METRICS["cosine"], 1, self.view(queries), self.view(targets),
                                 self.view(indices), self.view(scores), len(queries), len(targets), DIM, K, 0, 0)
        return self.prepare(self.lib.eum_topk, config)


class Arguments(c.Structure):
    """eum_scoring_args of kernels/scoring.h."""
    _fields_ = [("metric", c.c_int32), ("element", c.c_int32), ("queries", c.c_void_p), ("targets", c.c_void_p), ("numbers", c.c_void_p),
                ("scores", c.c_void_p), ("indices", c.c_void_p), ("query_count", c.c_uint64), ("rows", c.c_uint64), ("dim", c.c_uint64),
                ("query_stride", c.c_uint64), ("row_stride", c.c_uint64), ("k", c.c_uint64), ("flags", c.c_uint32),
                ("processors", c.c_uint32), ("norms", c.c_void_p), ("norms_known", c.c_bool)]


kernels = c.CDLL(options.kernels)
kernels.bench_scoring_scratch.restype = c.c_size_t
kernels.bench_scoring_run.argtypes = [c.c_void_p, c.c_void_p]
kernels.bench_scoring_args_bytes.restype = c.c_size_t
assert kernels.bench_scoring_args_bytes() == c.sizeof(Arguments), "Arguments is not what kernels/scoring.h has"


def kernel(queries, targets, scores, indices=None, flags=0):
    """A function that scores or, with indices, selects; with the wait."""
    arguments = Arguments(1, 1, queries.data_ptr(), targets.data_ptr(), None, scores.data_ptr(), None if indices is None else indices.data_ptr(),
                          len(queries), len(targets), DIM, DIM * 4, DIM * 4, 0 if indices is None else K, flags)
    scratch = torch.empty(kernels.bench_scoring_scratch(c.byref(arguments)) + 16, dtype=torch.uint8, device="cuda")
    at, into = c.addressof(arguments), scratch.data_ptr()

    def run():
        assert kernels.bench_scoring_run(at, into) == 0
    run.keep = arguments, scratch
    return run


def interval(values):
    picks = generator.integers(0, len(values), (2000, len(values)))
    return np.percentile(np.median(np.asarray(values)[picks], axis=1), [2.5, 97.5])


def measure(name, contenders, rounds):
    """contenders: {name: function}; "ours" is one."""
    times = {who: [] for who in contenders}
    for run in contenders.values():
        run()
        run()
    for _ in range(rounds):
        order = list(contenders)
        random.shuffle(order)
        for who in order:
            start = time.perf_counter()
            contenders[who]()
            times[who].append((time.perf_counter() - start) * 1e6)
    text = f"{name:34} ours {np.median(times['ours']):9.1f} us"
    for who, theirs in times.items():
        if who != "ours":
            ratios = [a / b for a, b in zip(theirs, times["ours"])]
            low, high = interval(ratios)
            text += f" | {who} {np.median(theirs):9.1f} us, x{np.median(ratios):.2f} [{low:.2f}, {high:.2f}]"
    print(text, flush=True)


def waited(run):
    def both():
        run()
        torch.cuda.synchronize()
    return both


def exact(queries, rows):
    a, b = queries.double(), rows.double()
    return (a @ b.T) / a.norm(dim=1, keepdim=True) / b.norm(dim=1)


def check(queries, targets, indices, scores):
    """The best of the first queries: their scores, and that no row of a sample is better than the last and missing."""
    for q in range(min(4, len(queries))):
        found = exact(queries[q:q + 1], targets[indices[q]])[0]
        assert ((scores[q].double() - found).abs() <= 1e-6 + 1e-5 * found.abs()).all(), (q, scores[q], found)
        sample = torch.randint(0, len(targets), (50_000,), device="cuda")
        better = sample[exact(queries[q:q + 1], targets[sample])[0] > scores[q, -1].double() + 2e-5]
        assert set(better.tolist()) <= set(indices[q].tolist()), q


def main():
    engram = OnDevice(options.library)
    print(torch.cuda.get_device_name(), f"PyTorch {torch.__version__}, {options.rows} x {DIM}, top-{K}, {options.rounds} rounds")
    targets = torch.rand((options.rows, DIM), device="cuda") * 2 - 1
    inverse = 1 / targets.norm(dim=1)
    for rows, rounds in ((1000, 201), (options.rows, options.rounds)):
        few, few_inverse = targets[:rows], inverse[:rows]
        query = torch.rand((1, DIM), device="cuda") * 2 - 1
        scores = torch.full((1, rows), float("nan"), device="cuda")
        engine, run = engram.scores_of(query, few, scores), kernel(query, few, scores)
        run()
        torch.cuda.synchronize()
        sample = torch.randint(0, rows, (1000,), device="cuda")
        assert ((scores[0, sample].double() - exact(query, few[sample])[0]).abs() <= 1e-5).all()
        measure(f"{rows} rows, 1 query, scores", {
            "ours": run, "engine": engine, "mv": waited(lambda: torch.mv(few, query[0])),
            "mv and norms": waited(lambda: torch.mv(few, query[0]) * few_inverse / query.norm()),
            "cosine_similarity": waited(lambda: torch.nn.functional.cosine_similarity(query, few))}, rounds)
        for count in (1, 8, 128, 1024):
            queries = torch.rand((count, DIM), device="cuda") * 2 - 1
            indices = torch.full((count, K), -1, dtype=torch.int64, device="cuda")
            best = torch.full((count, K), float("nan"), device="cuda")
            torch.cuda.synchronize()
            engine, run = engram.best_of(queries, few, indices, best), kernel(queries, few, best, indices)
            for each in (engine, run):
                indices.fill_(-1)
                best.fill_(float("nan"))
                torch.cuda.synchronize()
                each()
                check(queries, few, indices, best)

            def peer(tf32):
                torch.backends.cuda.matmul.allow_tf32 = tf32
                (queries @ few.T).topk(K, dim=1)

            contenders = {"ours": run, "engine": engine}
            if count > 8:
                contenders["ours, no tensor cores"] = kernel(queries, few, best, indices, 1)
            if count == 1:
                contenders["mv and topk"] = waited(lambda: (torch.mv(few, queries[0]) * few_inverse).topk(K))
            else:
                contenders["product and topk"] = waited(lambda: peer(False))
                contenders["tf32 product and topk"] = waited(lambda: peer(True))
            measure(f"{rows} rows, {count} queries, top-{K}", contenders, rounds if count < 1024 else min(rounds, 7))


main()
