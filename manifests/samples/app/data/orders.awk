# Makes a year of orders: order,customer,day,product,count. A fixed generator, so that every build makes the same bytes.
BEGIN { FS = ","; seed = 20260101; orders = 500000 }

function draw(n) {
    seed = (seed * 16807) % 2147483647
    return seed % n
}

{ price[$1] = $3; products = NR }

END {
    for (order = 1; order <= orders; order++) {
        customer = sprintf("c%05d", int(draw(20000) * draw(1000) / 1000))
        day = 1 + draw(365)
        lines = 1 + draw(5)
        liked = 1 + draw(products)
        for (line = 0; line < lines; line++) {
            # Neighbours in the list are bought together more often than others.
            product = draw(10) < 6 ? 1 + (liked + draw(4)) % products : 1 + draw(products)
            printf "%d,%s,%d,%d,%d\n", order, customer, day, product, 1 + draw(3)
        }
    }
}
