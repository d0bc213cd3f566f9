;; Transform: fails in a function of its own.
(func $parse_order unreachable)
(func (export "transform") (param i32 i32) (result i32)
  (call $parse_order)
  (call $ok))
