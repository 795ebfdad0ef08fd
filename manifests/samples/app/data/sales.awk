# Sums the orders: product,pieces,customers,best day.
{
    pieces[$4] += $5
    day[$4, $3] += $5
    if (!(($4, $2) in seen)) { seen[$4, $2] = 1; customers[$4]++ }
}

END {
    for (product in pieces) {
        best = 1
        for (d = 2; d <= 365; d++) if (day[product, d] > day[product, best]) best = d
        printf "%d,%d,%d,%d\n", product, pieces[product], customers[product], best
    }
}
