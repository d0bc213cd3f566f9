module millrace.example/order-routing

go 1.24
