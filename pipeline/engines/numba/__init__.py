"""What the ``numba`` engine computes with: kernels for the CPU that keep partial sums in registers.

In the order in which to read them::

    vectors               a few operations on vectors in registers; everything below is written with them
    atomics               numbers that several threads change
    products              four rows of a matrix product: the one loop that does most of the arithmetic
    plan                  a network as a table of its layers, and where each array of numbers lies
    activations           the rectifier and its slope, softmax and the loss
    dense                 dense layers
    convolution           the forward pass of a convolution, with or without pooling
    hits                  the few places where a pooled convolution's signals are not zero
    convolution_backward  the backward pass of a convolution, by its hits
    updates               Nesterov momentum
    schedule              which thread computes what, and when
    compiler              how Numba compiles all this
    cache                 where it keeps the result

What a convolution takes and puts out lies channels last: ``(rows, columns, channels)``. The channels that it
puts out are padded with zeros to a multiple of 16, so that a vector holds the same place of neighbouring
channels. Padding stays zero by itself: its weights are zero, hence its signals, hence its gradients. (Once a
value has overflowed, padding shows nan, as infinity times zero is that; the loss is then nan, and told as such.)
Images keep the channels that they have, and their own order where the first layer is dense.

*Signals* are the gradients of the minibatch's loss with respect to what a layer puts out, before they
are multiplied with the slope of its nonlinearity, and after.
"""
