"""The ``numba`` engine: fused kernels for the CPU that keep partial sums in registers.

Read in this order::

    engine                the interface, threads
    worksharing           which thread computes what, and when
    plan                  a network as a table of its layers, and the arrays of the kernels
    parameters            weights by name, and in these arrays
    views                 one layer and one image in these arrays
    products              rows of a matrix product: most of an epoch's arithmetic
    dense                 dense layers
    convolution           the forward pass of a convolution, with or without pooling
    convolution_backward  its backward pass, by the maxima that have a gradient
    first_convolution     that of a first layer, whose inputs need no gradients
    activations           the rectifier and its slope, softmax and the loss
    updates               Nesterov momentum
    intrinsics            vectors in registers, the table of widths, atomic counters
    compiler, cache       how Numba compiles the kernels, and where it keeps them

Each kernel's docstring names the function of `engines.reference` or `networks.forward` that it equals. Kernels import
`networks.arrays` and each other; `engine` imports `engines.engine` too.

*Output gradients* are the gradients of the minibatch's loss with respect to a layer's outputs, first after its
nonlinearity and then, multiplied by the nonlinearity's slopes, before it. *Offsets* are indices into flat arrays.

Inputs and outputs of a convolution lie channels last: ``(rows, columns, channels)``. Output channels are padded with
zeros to a multiple of 16, so that a vector holds neighbouring channels of one pixel. Padding stays zero because its
weights are zero and its rectifier is closed, so its outputs and gradients are zero, too. (After an overflow padding is
nan, infinity times zero; the loss is nan as well, and training stops.) Input images keep their channels, and their own
order if the first layer is dense.
"""
