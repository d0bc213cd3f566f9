;; Transform: takes all memory that it gets and fails when it gets no more, as allocators do.
(func (export "transform") (param i32 i32) (result i32)
  (loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
  unreachable)
