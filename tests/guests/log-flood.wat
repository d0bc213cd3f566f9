;; Transform: writes a hundred thousand lines.
(data (i32.const 512) "all work and no play")
(func (export "transform") (param i32 i32) (result i32)
  (local $left i32)
  (local.set $left (i32.const 100000))
  (loop $more
    (call $log (i32.const 2) (i32.const 512) (i32.const 20))
    (local.set $left (i32.sub (local.get $left) (i32.const 1)))
    (br_if $more (local.get $left)))
  (call $ok))
