"""The ``numba`` engine: fused kernels for the CPU that keep partial sums in registers.

Read in this order::

    engine                the interface, threads
    worksharing           which thread computes what, and when
    plan                  a network as a table of its layers, and the arrays of the kernels
    dense                 dense layers
    convolution           the forward pass of a convolution, with or without pooling
    convolution_backward  its backward pass
    nonzero               the backward pass by the few non-zero gradients behind pooling
    activations           the rectifier and its slope, softmax and the loss
    updates               Nesterov momentum
    products              rows of a matrix product: most of an epoch's arithmetic
    intrinsics            vectors in registers, atomic counters
    compiler, cache       how Numba compiles the kernels, and where it keeps them

Kernels import `networks.arrays` and each other; `engine` imports `engines.engine` too.

*Output gradients* are the gradients of the minibatch's loss with respect to a layer's outputs, first after its
nonlinearity and then, multiplied by the nonlinearity's slopes, before it. *Offsets* are indices into flat arrays.

Inputs and outputs of a convolution lie channels last: ``(rows, columns, channels)``. Output channels are padded with
zeros to a multiple of 16, so that a vector holds neighbouring channels of one pixel. Padding stays zero because its
weights are zero, so its outputs and gradients are, too. (After an overflow padding is nan, infinity times zero; the
loss is nan as well, and training stops.) Input images keep their channels, and their own order if the first layer is
dense.
"""
