"""The data path: a BlockDevice as one file of a FUSE file system, below a loop device.

    container ──> ext4/xfs ──> loop (direct I/O, 4096) ──> FUSE ──> server ──> BlockDevice
                                                            │          ▲
                                        descriptor, ring ───┘          │ starts, restarts
                                              └───────── holder ───────┘

Three processes per node and volume matter. The *service* mounts and goes away as it likes. The
*holder* keeps the /dev/fuse descriptor and the ring and does nearly nothing else. The *server*
answers the kernel and may die at any instant: a request is read into the ring, so the next server
finds what its predecessor had taken, asks the kernel which of it is still unanswered, and answers
it. The files above notice a pause and never an error.
"""
