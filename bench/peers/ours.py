"""engram_um through ctypes: what the comparison with its peers needs of it. SPDX-License-Identifier: MIT OR Apache-2.0"""
import atexit
import ctypes as c
import os
import shutil
import subprocess
import tempfile

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))


class View(c.Structure):
    _fields_ = [("buffer", c.c_void_p), ("offset", c.c_size_t), ("bytes", c.c_size_t)]


class Job(c.Structure):
    _fields_ = [("context", c.c_void_p), ("stream", c.c_uint64), ("sequence", c.c_uint64)]


class ContextConfig(c.Structure):
    _fields_ = [("struct_size", c.c_size_t), ("device", c.c_char_p), ("backing", c.c_int32), ("worker_threads", c.c_uint32),
                ("budget_bytes", c.c_uint64), ("flags", c.c_uint32), ("log_level", c.c_int32), ("log_fn", c.c_void_p),
                ("log_user", c.c_void_p), ("pool_bytes", c.c_uint64)]


class WrapConfig(c.Structure):
    _fields_ = [("struct_size", c.c_size_t), ("address", c.c_void_p), ("bytes", c.c_size_t), ("memory", c.c_int32),
                ("ownership", c.c_int32), ("flags", c.c_uint32), ("role", c.c_int32), ("release", c.c_void_p), ("user", c.c_void_p)]


TAIL = [("query_stride", c.c_size_t), ("row_stride", c.c_size_t), ("executor", c.c_int32), ("reserved", c.c_int32)]
HEAD = [("struct_size", c.c_size_t), ("metric", c.c_int32), ("element", c.c_int32), ("queries", View), ("targets", View)]


class SimilarityConfig(c.Structure):
    _fields_ = HEAD + [("scores", View), ("query_count", c.c_uint64), ("rows", c.c_uint64), ("dim", c.c_uint64)] + TAIL


class TopkConfig(c.Structure):
    _fields_ = HEAD + [("indices", View), ("scores", View), ("query_count", c.c_uint64), ("rows", c.c_uint64), ("dim", c.c_uint64),
                       ("k", c.c_uint64)] + TAIL


class Operation(c.Structure):
    _fields_ = [("call", c.c_void_p), ("wait", c.c_void_p), ("stream", c.c_void_p), ("config", c.c_void_p)]


METRICS = {"cosine": 1, "dot": 2, "l2": 3}


def build_shim():
    """shim.c: the peers are extension modules, one foreign call an operation; so are we with this."""
    folder = tempfile.mkdtemp(prefix="peers-")
    atexit.register(shutil.rmtree, folder, True)
    file = os.path.join(folder, "shim.so")
    subprocess.run([os.environ.get("CC", "cc"), "-std=c11", "-O3", "-march=native", "-shared", "-fPIC", "-pthread",
                    "-I", os.path.join(HERE, "..", "..", "include"), os.path.join(HERE, "shim.c"), "-o", file], check=True)
    shim = c.CDLL(file)
    shim.peers_finish.argtypes = [c.c_void_p]
    shim.peers_finish.restype = c.c_int32
    shim.peers_read.argtypes = [c.c_void_p, c.c_size_t, c.c_int]
    shim.peers_read.restype = c.c_uint64
    return shim


class Engram:
    def __init__(self, library, threads, device=b"host"):
        self.lib = c.CDLL(library)
        self.shim = build_shim()
        self.threads = threads
        for name in ("eum_context_create", "eum_context_default_stream", "eum_buffer_wrap"):
            getattr(self.lib, name).restype = c.c_int32
        config = ContextConfig()
        self.lib.eum_context_config_init(c.byref(config))
        config.device, config.worker_threads = device, threads
        self.context, self.stream = c.c_void_p(), c.c_void_p()
        self.check(self.lib.eum_context_create(c.byref(config), c.byref(self.context)))
        self.check(self.lib.eum_context_default_stream(self.context, c.byref(self.stream)))

    def check(self, status):
        if status != 0:
            self.lib.eum_status_name.restype = c.c_char_p
            raise RuntimeError(self.lib.eum_status_name(status).decode())

    def wrap(self, array):
        """Wraps an array in place. The array must outlive the view."""
        config = WrapConfig()
        self.lib.eum_wrap_config_init(c.byref(config))
        config.address, config.bytes, config.memory, config.ownership = array.ctypes.data, array.nbytes, 1, 2
        buffer = c.c_void_p()
        self.check(self.lib.eum_buffer_wrap(self.context, c.byref(config), c.byref(buffer)))
        return View(buffer.value, 0, array.nbytes)

    def prepare(self, call, config):
        """A function that runs the operation and waits."""
        address = [c.cast(f, c.c_void_p).value for f in (call, self.lib.eum_job_wait)]
        operation = Operation(*address, self.stream.value, c.addressof(config))

        def run(finish=self.shim.peers_finish, where=c.addressof(operation), keep=(operation, config)):
            status = finish(where)
            if status:
                self.check(status)
        return run

    def reader(self, array):
        """A function that reads the array's bytes with plain loads, on as many threads."""
        return lambda: self.shim.peers_read(array.ctypes.data, array.nbytes, self.threads)

    def scorer(self, metric, queries, targets, scores):
        """A function that computes all scores, with wait."""
        config = SimilarityConfig(c.sizeof(SimilarityConfig), METRICS[metric], 1, self.wrap(queries), self.wrap(targets), self.wrap(scores),
                                  queries.shape[0], targets.shape[0], targets.shape[1], 0, 0)
        return self.prepare(self.lib.eum_similarity, config)

    def searcher(self, metric, queries, targets, k):
        """A function that finds the best k; its results are (indices, scores)."""
        indices, scores = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
        config = TopkConfig(c.sizeof(TopkConfig), METRICS[metric], 1, self.wrap(queries), self.wrap(targets), self.wrap(indices),
                            self.wrap(scores), queries.shape[0], targets.shape[0], targets.shape[1], k, 0, 0)

        run = self.prepare(self.lib.eum_topk, config)

        def search():
            run()
            return indices, scores
        return search
